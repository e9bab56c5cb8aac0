"""The life of a job: what it is doing, who may change that, and what is written down of it.

A job runs in one engine at a time, the one that holds its lock; others show what is written down of
it, and ask that engine when they want something of it. A job that does not run is nobody's: whoever
is asked to change it takes the lock, reads what was written last, changes it, writes, and gives the
lock back.

Everything that a user asks for is one task of the job, one at a time, and carried out to its end
whether or not the user stays: there is no moment at which cancelling a caller leaves half of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from modelfetch.board import Board
from modelfetch.core.job import JobInput, after
from modelfetch.desk import Desk
from modelfetch.errors import InsufficientSpace, InvalidState, JobCancelled, ModelFetchError
from modelfetch.status import JobState
from modelfetch.storage.ledger import Ask

__all__ = ["Life"]

_log = logging.getLogger(__name__)

TICK_SECONDS, TICKS_A_RECORD = 0.1, 10
TICK_SHARE = 10  # one of thousands of files takes long: then one part in so many of the time
ASK_SECONDS = 0.2
# Another engine looks for notes four times a second; one that has not after this long is stuck.
PATIENCE_SECONDS = 15.0


class Life:
    """One job, in whichever engine it runs.

    Args:
        board: What it shows.
        desk: Its engine.

    Attributes:
        is_ours: Whether this engine holds its lock.
        is_wanted_here: Whether somebody asked this engine for it.
        is_recorded: Whether it is in the ledger.
    """

    def __init__(self, board: Board, desk: Desk) -> None:
        self.board, self.desk, self._name = board, desk, board.job_id or ""
        self.is_ours = self.is_wanted_here = self.is_recorded = False
        self._task: asyncio.Task[None] | None = None
        self._can_stop = self._is_stopping = False
        self._turn, self._pen = asyncio.Lock(), asyncio.Lock()

    async def begin(self) -> None:
        """Start a job that is new."""
        self.is_wanted_here = True
        await self._controlled(self._begin)

    async def control(self, event: JobInput, *, delete: bool = False) -> None:
        """Do what a user asks for; see the table in `core.job`.

        Raises:
            InvalidState: It makes no sense now, the engine is closed, or that in which the job runs
                does not answer.
            JobNotFound: Another engine has forgotten it.
        """
        await self._controlled(lambda: self._apply(event, delete))

    async def amend(self, change: Callable[[Board], None]) -> None:
        """Change its place in line, or the bound on its speed.

        Raises:
            InvalidState: It is over, runs in another engine, or the engine is closed.
        """

        async def work() -> None:
            if self.board.job_id is not None and not self.is_ours:
                self.is_ours = await self._claimed()
            if not self.is_ours or self.board.state.is_terminal:
                raise InvalidState(f"{self._name} is over, or runs in another process.")
            change(self.board)
            await self._written()

        await self._controlled(work)

    async def forget(self) -> None:
        """Remove what is written down of it.

        Raises:
            InvalidState: It is not over, or the engine is closed.
            StorageError: The record cannot be removed.
        """

        async def work() -> None:
            await self._told()
            self.is_ours = await self._claimed()
            if not self.is_ours:  # it may be writing down its end
                await asyncio.sleep(ASK_SECONDS)
                self.is_ours = await self._claimed()
            if not (self.is_ours and self.board.state.is_terminal):
                raise InvalidState(f"{self._name} is not over; only then can it be forgotten.")
            await self.desk.scribe.remove(self._name)
            self.board.leave_out()  # before whoever waits for his turn has it

        await self._controlled(work)

    async def close(self) -> None:
        """Pause it if it runs here, and end all readers; once the desk is closed."""
        async with self._turn:
            if self.board.is_live:
                with contextlib.suppress(InvalidState):  # it has ended by itself meanwhile
                    await self._carry_out(JobInput.CLOSE, delete=False)
            self._release()
        self.board.broadcast.close()

    def _must_be_open(self) -> None:
        if self.board.is_forgotten:
            raise self.board.gone()
        if self.desk.is_closed:
            raise InvalidState("The engine is closed; open one, and ask for the model again.")

    async def _controlled(self, work: Callable[[], Awaitable[None]]) -> None:
        self._must_be_open()

        async def in_turn() -> None:
            async with self._turn:
                self._must_be_open()
                try:
                    await work()
                finally:
                    if not self.board.is_live:
                        self._release()

        await self.desk.carry_out(in_turn(), f"modelfetch control of {self._name}")

    async def _begin(self) -> None:
        self.is_ours = await self.desk.scribe.claim(self._name)
        self.board.tick()
        self._start()
        await self._written()

    async def _apply(self, event: JobInput, delete: bool) -> None:
        if not (self.is_ours or self.board.state is JobState.ALREADY_DOWNLOADED):
            self.is_ours = await self._claimed()
        self.is_wanted_here = event in (JobInput.RESUME, JobInput.RETRY)
        if self.is_ours or self._is_done_already(event):
            await self._carry_out(event, delete)
        elif self.board.state is not after(self.board.state, event):
            await self._ask(event, delete)

    async def _claimed(self) -> bool:
        scribe = self.desk.scribe
        is_ours = await scribe.claim(self._name)
        record = await scribe.read(self._name)
        if record is not None:
            self.board.show(record)
        elif is_ours and self.is_recorded:
            await scribe.must_be_known(self._name)
        if is_ours:
            self.board.orphaned()
        return is_ours

    def _release(self) -> None:
        self.desk.scribe.release(self._name)
        self.is_ours = False

    def _is_done_already(self, event: JobInput) -> bool:
        return event is JobInput.CANCEL and isinstance(self.board.error, JobCancelled)

    async def _carry_out(self, event: JobInput, delete: bool) -> None:
        if self._is_done_already(event):
            if delete:
                await self.desk.transfers.discard(self.board.plan)
            return
        target = after(self.board.state, event)
        if event in (JobInput.RESUME, JobInput.RETRY):
            if self.board.state is not target:
                await self._told()
                self.board.error = None
                self.board.move(event)
                self._start()
        else:
            await self._stopped()
            after(self.board.state, event)  # it may have ended by itself meanwhile
            if delete:
                await self.desk.transfers.discard(self.board.plan)
            if event is JobInput.CANCEL:
                self.board.error = JobCancelled(f"{self._name} was cancelled.")
            self.board.move(event)
        await self._written()

    async def _ask(self, event: JobInput, delete: bool) -> None:
        scribe, target = self.desk.scribe, after(self.board.state, event)
        deadline = time.time() + PATIENCE_SECONDS
        await scribe.ask(self._name, Ask(event, delete, deadline))
        try:
            while self.board.state is not target and not self.desk.is_closed:
                await asyncio.sleep(ASK_SECONDS)
                self.is_ours = await self._claimed()
                if self.is_ours:
                    await self._carry_out(event, delete)
                    return
                after(self.board.state, event)
                if time.time() > deadline and await scribe.is_asked(self._name):
                    raise InvalidState(
                        f"The process in which {self._name} runs does not answer.",
                        hint="End that process; then ask again.",
                    )
        finally:
            await scribe.withdraw(self._name)
        self._must_be_open()

    async def _told(self) -> None:
        """Wait until an end that everybody has seen is written down too."""
        if self._task is not None and self.board.state is not JobState.DOWNLOADING:
            await asyncio.wait({self._task})

    def _start(self) -> None:
        self._is_stopping, self.board.is_live = False, True
        self._task = asyncio.create_task(self._drive(), name=f"modelfetch {self._name}")

    async def _stopped(self) -> None:
        if self._task is not None and self.board.is_live:
            self._is_stopping = True
            if self._can_stop:
                self._task.cancel()
            await asyncio.wait({self._task})

    async def _drive(self) -> None:
        try:
            event = None if self._is_stopping else await self._worked()
            if event is not None:
                self.board.move(event)
                await self._written()
        finally:
            self.board.stop()
            if not self._turn.locked():  # else whoever stops it gives the lock back
                self._release()

    async def _worked(self) -> JobInput | None:
        """Return what the end of the work means; `None` when somebody stopped it and will say."""
        self._can_stop = True
        try:
            await self._work()
        except asyncio.CancelledError:
            return None if self._is_stopping else JobInput.CLOSE
        except InsufficientSpace as error:
            self.board.error = error
            return JobInput.DISK_FULL
        except ModelFetchError as error:
            # What it was raised from may hold a signed URL and the token.
            error.__context__ = None
            self.board.error = error
            return JobInput.FAIL
        except Exception as error:
            _log.exception("a job failed for a reason that nobody foresaw")
            self.board.error = ModelFetchError("Something inside modelfetch failed; see its log.")
            self.board.error.__cause__ = error
            return JobInput.FAIL
        finally:
            self._can_stop = False
        return JobInput.FINISH

    async def _work(self) -> None:
        board = self.board
        board.queued(True)
        async with self.desk.turns.turn(board.rank):
            board.queued(False)
            ticking = asyncio.create_task(self._tick())
            try:
                files, bucket = board.gauge.files, board.bucket
                board.model = await self.desk.transfers.run(board.plan, files, bucket)
            finally:
                self._can_stop = False
                ticking.cancel()
                await asyncio.wait({ticking})

    async def _tick(self) -> None:
        pause = TICK_SECONDS
        while True:
            for _ in range(TICKS_A_RECORD):
                await asyncio.sleep(pause)
                began = time.thread_time()
                self.board.tick()
                pause = max(TICK_SECONDS, TICK_SHARE * (time.thread_time() - began))
            await self._written()

    async def _written(self) -> None:
        if self.is_ours:
            async with self._pen:
                self.is_recorded |= await self.desk.scribe.write(self.board.record())
