"""Extract, transform, load, one chain for each account. What a step hands to the next is a key, and not the data."""

import json
import urllib.request

from umbel import FlowFailure, chain, group

from . import store
from .app import app


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


@app.task
def accounts(address: str) -> list[int]:
    return json.loads(ask(f"{address}/accounts"))


@app.task(bind=True)
def each(self, found: list[int], address: str) -> None:
    """Only now it is known how many there are: this task goes on as a chain for each."""
    self.replace(group(chain(extract.s(address, account), transform.s(), load.s()) for account in found))


@app.task
def extract(address: str, account: int) -> int:
    store.keep_raw(account, ask(f"{address}/accounts/{account}"))
    return account


@app.task
def transform(account: int) -> tuple[int, int]:
    return account, sum(booking["cents"] for booking in json.loads(store.raw(account)))


@app.task
def load(balance: tuple[int, int]) -> int:
    store.keep_balance(*balance)
    return balance[0]


@app.task
def report(loaded: list[int]) -> str:
    count, cents = store.balances()
    return f"{len(loaded)} loaded; {count} balances, {cents / 100:.2f} in all"


@app.task
def alarm(failure: FlowFailure) -> None:
    print(f"somebody is called: flow {failure.flow}: {failure.type}: {failure.message}")


def nightly(address: str):
    return chain(accounts.s(address), each.s(address), report.s()).set(name="nightly").link_error(alarm.s())
