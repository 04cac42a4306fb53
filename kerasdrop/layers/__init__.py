"""Dropout layers."""

from kerasdrop.layers.alpha import AlphaDropout
from kerasdrop.layers.alpha import FeatureAlphaDropout
from kerasdrop.layers.attention import GroupQueryAttention
from kerasdrop.layers.attention import MultiHeadAttention
from kerasdrop.layers.concrete import ConcreteDropout
from kerasdrop.layers.drop_block import DropBlock1D
from kerasdrop.layers.drop_block import DropBlock2D
from kerasdrop.layers.drop_block import DropBlock3D
from kerasdrop.layers.drop_connect import DropConnect
from kerasdrop.layers.drop_path import DropPath
from kerasdrop.layers.dropout import ClassicDropout
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.dropout import MCDropout
from kerasdrop.layers.dropout import ScheduledDropout
from kerasdrop.layers.embedding import EmbeddingDropout
from kerasdrop.layers.gaussian import GaussianDropout
from kerasdrop.layers.locked import LockedDropout
from kerasdrop.layers.lora import LoRAInputDropout
from kerasdrop.layers.recurrent import DropoutRNN
from kerasdrop.layers.recurrent_drop_ins import GRU
from kerasdrop.layers.recurrent_drop_ins import LSTM
from kerasdrop.layers.recurrent_drop_ins import RNN
from kerasdrop.layers.recurrent_drop_ins import ConvLSTM1D
from kerasdrop.layers.recurrent_drop_ins import ConvLSTM2D
from kerasdrop.layers.recurrent_drop_ins import ConvLSTM3D
from kerasdrop.layers.recurrent_drop_ins import SimpleRNN
from kerasdrop.layers.spatial import SpatialDropout1D
from kerasdrop.layers.spatial import SpatialDropout2D
from kerasdrop.layers.spatial import SpatialDropout3D
from kerasdrop.layers.stochastic_depth import StochasticDepth

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AlphaDropout",
    "ClassicDropout",
    "ConcreteDropout",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "DropBlock1D",
    "DropBlock2D",
    "DropBlock3D",
    "DropConnect",
    "DropPath",
    "Dropout",
    "DropoutRNN",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GroupQueryAttention",
    "LoRAInputDropout",
    "LockedDropout",
    "MCDropout",
    "MultiHeadAttention",
    "ScheduledDropout",
    "SimpleRNN",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "StochasticDepth",
]
