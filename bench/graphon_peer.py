"""The peer of `cargo xtask bench engine`: Dify's own graph engine, graphon from PyPI, running the same DSL file.

Prints one line of JSON. The engine waits a tenth of a second on its queues in each run, so one thread alone would measure
that wait; many threads keep the processor busy, and the best of several counts is what is reported. Templates are rendered by Jinja2 in this process, which is kinder to the peer than a real
Dify, where each render is an HTTP call to the sandbox.
"""

import json
import sys
import threading
import time

import jinja2
import yaml
from graphon.entities.graph_init_params import GraphInitParams
from graphon.graph.graph import Graph
from graphon.graph_engine.command_channels.in_memory_channel import InMemoryChannel
from graphon.graph_engine.graph_engine import GraphEngine
from graphon.graph_events.graph import GraphRunSucceededEvent
from graphon.nodes.end.end_node import EndNode
from graphon.nodes.if_else.if_else_node import IfElseNode
from graphon.nodes.start.start_node import StartNode
from graphon.nodes.template_transform.template_transform_node import TemplateTransformNode
from graphon.runtime.graph_runtime_state import GraphRuntimeState
from graphon.runtime.variable_pool import VariablePool
from graphon.template_rendering import Jinja2TemplateRenderer


class Renderer(Jinja2TemplateRenderer):
    def __init__(self):
        self.compiled = {}

    def render_template(self, template, variables):
        if template not in self.compiled:
            self.compiled[template] = jinja2.Template(template)
        return self.compiled[template].render(**variables)


RENDERER = Renderer()
CLASSES = {"start": StartNode, "if-else": IfElseNode, "end": EndNode}


class Factory:
    def __init__(self, params, state):
        self.params, self.state = params, state

    def create_node(self, node_config):
        kind = node_config["data"].type
        common = dict(
            id=node_config["id"], config=node_config, graph_init_params=self.params, graph_runtime_state=self.state
        )
        if kind == "template-transform":
            return TemplateTransformNode(**common, jinja2_template_renderer=RENDERER)
        return CLASSES[kind](**common)


def run_once(graph_config, inputs):
    pool = VariablePool()
    for name, value in inputs.items():
        pool.add(["start", name], value)
    state = GraphRuntimeState(variable_pool=pool, start_at=time.perf_counter())
    params = GraphInitParams(workflow_id="bench", graph_config=graph_config, run_context={}, call_depth=0)
    graph = Graph.init(graph_config=graph_config, node_factory=Factory(params, state), root_node_id="start")
    engine = GraphEngine(
        workflow_id="bench", graph=graph, graph_runtime_state=state, command_channel=InMemoryChannel()
    )
    last = None
    for last in engine.run():
        pass
    assert isinstance(last, GraphRunSucceededEvent), last
    return last.outputs


def measure(graph_config, inputs, threads, seconds):
    counts = [0] * threads
    deadline = time.perf_counter() + seconds

    def work(index):
        while time.perf_counter() < deadline:
            run_once(graph_config, inputs)
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        graph_config = yaml.safe_load(file)["workflow"]["graph"]
    seconds = float(sys.argv[2])
    inputs = {"name": "Ann", "n": 5}
    outputs = run_once(graph_config, inputs)
    by_threads = {threads: measure(graph_config, inputs, threads, seconds) for threads in (1, 8, 32, 64)}
    print(json.dumps({"per_second": max(by_threads.values()), "by_threads": by_threads, "outputs": outputs}))


main()
