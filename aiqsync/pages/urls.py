def patterns(site):
    return []
