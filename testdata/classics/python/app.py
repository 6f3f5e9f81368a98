"""A page that counts how often it was asked for, kept in a file of the service's own user."""
import os
import pathlib
import sys

from flask import Flask, render_template

app = Flask(__name__)
COUNTER = pathlib.Path("data/count")


def count():
    n = int(COUNTER.read_text()) + 1 if COUNTER.exists() else 1
    COUNTER.write_text(str(n))
    return n


@app.route("/")
def index():
    return render_template("index.html", count=count(), user=os.getuid())


if __name__ == "__main__":
    if "--check" in sys.argv:
        print(app.test_client().get("/").get_data(as_text=True))
    else:
        app.run(host="0.0.0.0", port=8000)
