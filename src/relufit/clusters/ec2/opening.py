"""Dask's own EC2 cluster, on a thread of its own, so that nothing it waits for can keep this program."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, TypeVar

from relufit.clusters.certificates import Pair
from relufit.clusters.ec2 import aws
from relufit.clusters.ec2.options import Options
from relufit.clusters.ec2.teardown import TAG, wait_undisturbed
from relufit.clusters.settings import defaults_of_dask
from relufit.errors import ClusterError, ConfigError
from relufit.transport.slot import SLOT

T = TypeVar("T")
#: Seconds until a worker that has no scheduler ends.
_ORPHAN_SECONDS = 300
#: Instances tell their role's credentials to who asks with a token of a session (IMDSv2), one hop away at most.
METADATA = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"}
#: Seconds for the thread to notice that it is not wanted.
_LEAVING_SECONDS = 30.0


@dataclass(frozen=True)
class UserData:
    """What the instances are told at their start: scripts for cloud-init."""

    scheduler: str
    worker: str


def user_data(options: Options, name: str, pair: Pair) -> UserData:
    """Return the scripts of a scheduler and of a worker as they would be sent."""

    async def render() -> UserData:
        cluster = _cluster(options, name, pair, vpc="vpc")
        scheduler = cluster.scheduler_class(**cluster.scheduler_options)
        worker = cluster.worker_class(scheduler="tls://255.255.255.255:65535", **cluster.worker_options)
        return UserData(*(cluster.render_process_cloud_init(one) for one in (scheduler, worker)))

    with ThreadPoolExecutor(1) as thread, _only_defaults():
        return thread.submit(lambda: asyncio.run(render())).result()


def arguments(options: Options, name: str, pair: Pair, vpc: str) -> dict[str, Any]:
    """Return what `dask_cloudprovider.aws.EC2Cluster` is made with; without a VPC it looks for a default one."""
    tags = {TAG: name}
    return {
        "region": options.region,
        "ami": options.ami,
        "vpc": vpc,
        "subnet_id": options.subnet,
        "security_groups": list(options.security_groups),
        "scheduler_instance_type": options.scheduler_instance_type,
        "worker_instance_type": options.instance_type,
        "docker_image": options.image,
        "bootstrap": options.bootstrap,
        "auto_shutdown": True,
        "filesystem_size": options.disk,
        "iam_instance_profile": {"Name": options.instance_profile} if options.instance_profile else {},
        "instance_tags": tags,
        "volume_tags": tags,
        "use_private_ip": options.use_private_ip,
        "spot": options.spot,
        "security": pair.security(),
        "n_workers": 0,
        # Whatever hangs, the instance ends: nothing that runs on it is asked.
        "extra_bootstrap": [f"shutdown -P +{max(1, round(options.hours * 60))}"],
        "scheduler_options": {"idle_timeout": f"{options.idle_timeout}s", "dashboard_address": "127.0.0.1:0"},
        "worker_options": {
            "nthreads": options.slots,
            "resources": {SLOT: options.slots},
            "death_timeout": _ORPHAN_SECONDS,
            "dashboard_address": "127.0.0.1:0",
        },
        # Instances are ended by their tag, not by an object that may not have come to be.
        "shutdown_on_close": False,
        "asynchronous": True,
    }


def _cluster(options: Options, name: str, pair: Pair, vpc: str) -> Any:  # noqa: ANN401
    from dask_cloudprovider.aws import EC2Cluster

    cluster = EC2Cluster(**arguments(options, name, pair, vpc))
    cluster.quiet = True
    cluster.scheduler_class, cluster.worker_class = map(_private, (cluster.scheduler_class, cluster.worker_class))
    cluster.boto_session.register("provide-client-params.ec2.RunInstances", _with_metadata_options)
    return cluster


def _private(kind: type) -> type:
    """Return a kind of instance whose process has a private scratch folder."""

    class Private(kind):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **options)
            self.command: str = self.command.replace(" -m ", " -m relufit.clusters.ec2.process ", 1)

    return Private


def _with_metadata_options(params: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the request for an instance with what dask-cloudprovider has no option for."""
    return {**params, "MetadataOptions": METADATA}


@contextmanager
def _only_defaults() -> Iterator[None]:
    """Set Dask's configuration to its defaults for a while: an EC2 cluster sends all of it to the instances."""
    import dask_cloudprovider.config  # noqa: F401 - has defaults of its own

    with defaults_of_dask():
        yield


class Opening:
    """A cluster that is being started. It must be left before instances are ended, or it might start more."""

    def __init__(self, options: Options, name: str, pair: Pair, vpc: str) -> None:
        self._options, self._name, self._pair, self._vpc = options, name, pair, vpc
        self._cluster: Any = None
        self._task: Future[Any] | None = None
        self._loop = asyncio.new_event_loop()
        self._over = Event()
        self._thread = Thread(target=self._run, name="relufit-ec2", daemon=True)

    @contextmanager
    def entered(self) -> Iterator[Opening]:
        """Start the thread, and end it."""
        with _only_defaults(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._thread.start()
            try:
                yield self
            finally:
                self._leave()

    def scheduler(self) -> str:
        """Start the scheduler and return its address.

        Raises
        ------
        ConfigError, ClusterError
            If AWS refuses, or the scheduler does not answer in time.
        """

        async def start() -> str:
            self._cluster = _cluster(self._options, self._name, self._pair, self._vpc)
            await self._cluster
            return str(self._cluster.scheduler.address)

        return self._wait(
            start,
            self._options.boot_timeout,
            f"the scheduler does not answer within {self._options.boot_timeout:g} s",
            "see that the image starts and that the security group lets this machine reach port 8786"
            + (", by private addresses from within the VPC" if self._options.use_private_ip else ""),
        )

    def workers(self, count: int) -> None:
        """Ask for so many workers, each an instance.

        Raises
        ------
        ConfigError, ClusterError
            If AWS refuses one.
        """

        async def scale() -> None:
            self._cluster.scale(count)
            await self._cluster

        self._wait(
            scale,
            self._options.boot_timeout,
            f"EC2 does not give {count} instances within {self._options.boot_timeout:g} s",
            "ask for fewer, or in another zone",
        )

    def instances(self) -> list[str]:
        """Return the identifiers of the instances that AWS has confirmed."""
        made = [getattr(self._cluster, "scheduler", None), *getattr(self._cluster, "_created", ())]
        return [one.instance["InstanceId"] for one in made if one is not None and getattr(one, "instance", None)]

    def _wait(self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float, late: str, remedy: str) -> T:
        task = self._task = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            result: T = task.result(seconds)
        except Late as error:
            if task.done():
                raise aws.explain(aws.cause_of(error), "cluster.ec2", remedy) from error
            raise ClusterError(late, where="cluster.ec2", remedy=remedy) from None
        except ConfigError:
            raise
        except Exception as error:
            raise aws.explain(aws.cause_of(error), "cluster.ec2", "see docs/ec2.md") from error
        return result

    def _leave(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()
        self._loop.call_soon_threadsafe(self._stop)
        # A connection to an address where nobody is may keep the thread a little; it starts nothing after that.
        wait_undisturbed(self._over, _LEAVING_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._over.set()

    def _stop(self) -> None:
        """Cancel all that goes on, and stop the loop when it has ended."""
        from distributed.core import Status

        pending = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
        for task in pending:
            task.cancel()

        async def stop() -> None:
            await asyncio.gather(*pending, return_exceptions=True)
            with suppress(Exception):  # there may be no cluster, or no connection
                self._cluster.status = Status.closed
                await asyncio.wait_for(self._cluster.scheduler_comm.close_rpc(), 1)
            self._loop.stop()

        self._stopping = self._loop.create_task(stop())
