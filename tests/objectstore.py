"""A real S3 server in this process, for pyarrow's real client here and in processes that tests start."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class ObjectStore:
    """url: of the server; client: of boto3, to put things there."""

    url: str
    client: Any

    @property
    def environment(self) -> dict[str, str]:
        """What points a client here."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def bucket(self, name: str, objects: Mapping[str, bytes | Path] | None = None) -> str:
        """A new bucket with these objects: its address."""
        self.client.create_bucket(Bucket=name)
        for key, content in (objects or {}).items():
            self.put(name, key, content)
        return f"s3://{name}"

    def put(self, bucket: str, key: str, content: bytes | Path) -> None:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def lock(self, bucket: str) -> None:
        """Nobody may do anything with its objects from now on."""
        rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        self.client.put_bucket_policy(Bucket=bucket, Policy=policy)

    def keys(self, bucket: str) -> list[str]:
        """All objects, those that only mark a folder left out."""
        listed = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return sorted(entry["Key"] for entry in listed if not entry["Key"].endswith("/"))


def start_store() -> tuple[ObjectStore, ThreadedMotoServer]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    return ObjectStore(url, client), server


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
