"""One command for each question that a reader of the paper asks: `python -m benchmarks.ablations STUDY ...`.

A study is a module with

    TITLE, QUESTION, FINDING    what docs/ablations.md says around the figures
    run(lab) -> dict            the figures, JSON-ready; slow parts are cached in the lab's folder and resumed
    tables(result) -> str       Markdown
    plot(result, path)          a PNG

`lab.py` trains and keeps the networks, `measures.py` scores, `page.py` writes the page from the results alone.
"""
