"""Tells of each answer how many statements it took, and how long the database was at it, in two headers."""

import time

from django.db import connection


def counted(get_response):
    def middleware(request):
        asked: list[float] = []

        def note(execute, sql, params, many, context):
            began = time.perf_counter()
            try:
                return execute(sql, params, many, context)
            finally:
                asked.append(time.perf_counter() - began)

        with connection.execute_wrapper(note):
            response = get_response(request)
        response["X-Statements"] = str(len(asked))
        response["X-Database-Ms"] = f"{sum(asked) * 1000:.2f}"
        return response

    return middleware
