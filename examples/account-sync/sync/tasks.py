"""Three tasks: all accounts, one account's answer, one account's bookings. Each bears a second run."""

from urllib.request import urlopen

from umbel import Retry

from . import ledger
from .app import app


@app.task
def sync_all(bank: str, day: str, accounts: int) -> None:
    """One call for each account. The iterable is read as it is sent, so this is as good for two million."""
    sync_account.delay_many((bank, day, account) for account in range(1, accounts + 1))


# A bank that is busy or away (URLError, HTTPError and TimeoutError are OSErrors) is asked again; the wait stands in the
# broker and holds no worker. A queue of its own: a slow bank does not stand before the bookings.
@app.task(queue="bank", retry=Retry(max=5, on=(OSError,), backoff=0.2, max_delay=60))
def sync_account(bank: str, day: str, account: int) -> None:
    """Fetch, keep raw, and leave the rest to a task of its own: what fails there need not be fetched again."""
    with urlopen(f"{bank}/{account}/{day}", timeout=5) as answer:
        ledger.keep_raw(account, day, answer.read())
    book.delay(account, day)


# Not retried: bytes that make no sense today make none in a minute. It becomes a dead letter, and somebody looks.
@app.task
def book(account: int, day: str) -> None:
    """Book what was kept. Each booking has a key, so a second run books nothing."""
    ledger.book(account, day)
