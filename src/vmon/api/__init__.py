"""vmon over HTTP: all that the Python calls do, streams of what happens, and the web page. Starlette, uvicorn."""
