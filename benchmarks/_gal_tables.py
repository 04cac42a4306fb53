def show(report, docs=None):
    pass
