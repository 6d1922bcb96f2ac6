"""A small web application: one page, and one answer in JSON."""

from flask import Flask, render_template

app = Flask(__name__)


@app.get("/")
def index():
    return render_template("index.html", title="Hello from Flask")


@app.get("/api/greeting")
def greeting():
    return {"greeting": "Hello from Flask"}
