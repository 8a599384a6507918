"""Runs a backtest of Meed on Spark: each partition of users is decided by one `meed backtest worker`.

`meed backtest EVENT --export DIR` writes `job.json`, `rows.ndjson` and the modules. This script sorts the rows by user, runs
the workers with `mapInArrow` until the limits settle, and writes the report, which is that of `meed backtest EVENT`.
Every machine needs the same release of the program `meed`, at the same path, and the same settings.
"""

import argparse
import pathlib
import subprocess
import tempfile

import pyarrow
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

NEXT_ROUND = 3


def count(meed, files):
    """A function for mapInArrow: the rows of a partition go into a worker, and its counts come out as one line."""

    def run(batches):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                pathlib.Path(folder, name).write_bytes(content)
            command = [meed, "backtest", "worker", "--job", f"{folder}/job.json"]
            # The worker reads everything before it writes, so neither side waits for the other.
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
                try:
                    for batch in batches:
                        lines = batch.column("line").to_pylist()
                        worker.stdin.write("".join(f"{line}\n" for line in lines).encode())
                    worker.stdin.close()
                except BrokenPipeError:
                    pass  # It ended early; its exit code says why.
                counted = worker.stdout.read().decode().strip()
            if worker.returncode != 0:
                raise RuntimeError(f"{command} ended with {worker.returncode}; its messages are in the log of the executor")
        yield pyarrow.RecordBatch.from_pydict({"counted": [counted]})

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="the folder of `meed backtest --export`, read by the driver")
    parser.add_argument("report", type=pathlib.Path, help="where to write the report")
    parser.add_argument("--rows", help="the rows, as Spark reads them; the default is rows.ndjson in the folder")
    parser.add_argument("--meed", default="meed", help="the path of the program on every machine")
    parser.add_argument("--partitions", type=int, default=None, help="the default is spark.sql.shuffle.partitions")
    arguments = parser.parse_args()

    spark = SparkSession.builder.appName("meed backtest").getOrCreate()
    partitions = arguments.partitions or int(spark.conf.get("spark.sql.shuffle.partitions"))
    rows = arguments.rows or (arguments.folder / "rows.ndjson").resolve().as_uri()
    lines = spark.read.text(rows).select(
        f.get_json_object("value", "$.user").alias("user"),
        # The rows of a user stay in their order.
        f.monotonically_increasing_id().alias("place"),
        f.col("value").alias("line"),
    )
    lines = lines.repartition(partitions, "user").sortWithinPartitions("user", "place").select("line").persist()

    modules = {path.name: path.read_bytes() for path in arguments.folder.glob("*.wasm")}
    job = arguments.folder / "job.json"
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, 100):
            files = {**modules, "job.json": job.read_bytes()}
            counted = lines.mapInArrow(count(arguments.meed, files), "counted string").persist()
            counted.count()  # All partitions at the same time; below, the driver reads one after the other.
            next_job = pathlib.Path(folder, f"job-{number + 1}.json")
            command = [arguments.meed, "backtest", "merge", "--job", job, "--plugins", arguments.folder]
            command += ["--next", next_job, "--json", arguments.report]
            with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as merge:
                for row in counted.toLocalIterator():
                    merge.stdin.write(row.counted + "\n")
                merge.stdin.close()
            counted.unpersist()
            if merge.returncode == 0:
                print(f"round {number}: the report is in {arguments.report}")
                return
            if merge.returncode != NEXT_ROUND:
                raise SystemExit(f"meed backtest merge ended with {merge.returncode}")
            print(f"round {number}: the limits have not settled")
            job = next_job


if __name__ == "__main__":
    main()
