"""A load balancer for bhrpc, as a plugin in Python.

The host asks for a plan once per second and picks by it locally, so no call waits for
Python. What is needed beside gRPC: one line on stdout that says where the plugin
listens, a health service, and an end when the host is gone.
"""

import json
import math
import os
import sys
import threading
from concurrent import futures

import grpc

import info_pb2 as info
import loadbalancer_pb2 as lb

NAME = "least-busy"


def configure(document):
    """Returns the configuration in force: the defaults, and over them what is given."""
    given = json.loads(document) if document else {}
    unknown = [key for key in given if key != "bias"]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; keys of loadbalancer {NAME!r}: bias")
    config = {"bias": 1.0, **given}
    bias = config["bias"]
    if not (isinstance(bias, (int, float)) and math.isfinite(bias) and 0 <= bias <= 10):
        raise ValueError(f"bias: {bias!r} is not a number from 0 to 10")
    return config


def plan(config, endpoints):
    """The load balancer itself: an endpoint gets the less, the more calls it has."""
    return {e.address: e.weight / (1 + e.in_flight) ** config["bias"] for e in endpoints}


# bhrpc.plugin.v1.PluginInfo: what the plugin brings, and whether a configuration is good.


def describe(request, context):
    bias = info.Field(key="bias", type="float", default="1", doc="0: by weight alone; above 1: away from busy endpoints")
    extension = info.Extension(kind="loadbalancer", name=NAME, doc="Fewer calls for endpoints that have many unanswered.", fields=[bias])
    return info.DescribeReply(generation=request.generation, sdk="python", extensions=[extension])


def check(request, context):
    config = checked(request.kind, request.name, getattr(request, "with"), context)  # a keyword of Python
    return info.ConfigureReply(generation=request.generation, effective=json.dumps(config).encode())


def checked(kind, name, document, context):
    """Returns the configuration in force, or ends the request with what is wrong."""
    try:
        if (kind, name) != ("loadbalancer", NAME):
            raise ValueError(f"this plugin has no {kind} {name!r}; it has the loadbalancer {NAME!r}")
        return configure(document)
    except (TypeError, ValueError) as err:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(err))


# bhrpc.plugin.v1.LoadBalancer: the first message of a stream opens it, every other one
# asks for a plan.


def plans(requests, context):
    config = None
    for request in requests:
        if request.HasField("open"):
            config = checked("loadbalancer", request.open.name, getattr(request.open, "with"), context)
            continue
        shares = plan(config, request.endpoints)
        yield lb.PlanReply(
            generation=request.generation,  # an answer repeats both numbers, or it does not count
            number=request.number,
            shares=[lb.Share(address=a, weight=w) for a, w in shares.items()],
        )


def services(stop):
    """The services by name. Those of health and control have messages so small that
    their bytes stand here: no code need be generated for them."""
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler

    def shutdown(request, context):
        stop.set()
        return b""  # Empty

    return {
        "bhrpc.plugin.v1.PluginInfo": {
            "Describe": unary(describe, info.DescribeRequest.FromString, info.DescribeReply.SerializeToString),
            "Configure": unary(check, info.ConfigureRequest.FromString, info.ConfigureReply.SerializeToString),
        },
        "bhrpc.plugin.v1.LoadBalancer": {
            "Plan": stream(plans, lb.PlanRequest.FromString, lb.PlanReply.SerializeToString),
        },
        "grpc.health.v1.Health": {"Check": unary(lambda request, context: b"\x08\x01")},  # status: SERVING
        "plugin.GRPCController": {"Shutdown": unary(shutdown)},  # the host asks the plugin to end
    }


def end_with_host():
    """The host holds the other end of this pipe and never writes: it is gone when the
    read returns."""
    os.read(int(os.environ["BHRPC_LIFELINE_FD"]), 1)
    os._exit(0)


def main():
    if os.environ.get("BHRPC_PLUGIN") != "extensions":
        sys.exit("this program brings a load balancer and is run by the program that uses it")
    threading.Thread(target=end_with_host, daemon=True).start()
    stop = threading.Event()
    # A stream keeps a thread for as long as it lives, and there is one per load balancer in use.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=[("grpc.max_receive_message_length", 16 << 20)])
    for name, methods in services(stop).items():
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, methods)])
    path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "socket")  # private to the host's user
    server.add_insecure_port("unix:" + path)
    server.start()
    # go-plugin's version, that of bhrpc's plugin protocol, and where to connect.
    print(f"1|1|unix|{path}|grpc", flush=True)
    stop.wait()
    server.stop(grace=0.5).wait()


main()
