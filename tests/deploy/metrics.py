"""The metrics of a bank at work, and what the dashboard and the alerts make of them."""

import functools
import json
import re
import tempfile
from collections import defaultdict

import grpc
import promql_parser
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from checks import PATIENCE, Bank, succeed

# What Prometheus adds to every series, and what it makes itself.
ADDED_LABELS = {"job", "instance"}
OWN_SERIES = {"up": {}}
SEVERITIES = {"page", "ticket"}


@functools.cache
def scraped(tools):
    """The page of a bank in a file that has seen some of everything."""
    with tempfile.TemporaryDirectory(prefix="bank-metrics-") as folder:
        with Bank(tools, "--data", f"{folder}/bank.db") as bank:
            for line in (
                "account create alice --currency USD",
                "account create bob --currency USD",
                "deposit alice 100 USD",
                "transfer alice bob 30 USD --request-id rent",
                "transfer alice bob 30 USD --request-id rent",
                "hold place alice 5 USD",
                "statement alice",
                "trial-balance",
            ):
                bank.call(line)
            bank.call("withdraw bob 1000 USD", codes=(3,))
            bank.call("balance nobody", codes=(2,))
            unknown(bank.address)
            assert bank.get("/healthz")[1] == "alive\n"
            assert bank.get("/readyz")[1] == "ready\n"
            return bank.get("/metrics")


def unknown(address):
    """Calls a method that there is not, which counts as an error of the server."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/bank.v1.BankService/Nothing")(b"", timeout=PATIENCE)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


@functools.cache
def series(tools):
    """The values of each label of each series, by the name that queries use."""
    found = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(scraped(tools)[1]):
        for sample in family.samples:
            labels = found[sample.name]
            for name, value in sample.labels.items():
                # Prometheus keeps a bound as the shortest number.
                labels[name].add(value.removesuffix(".0") if name == "le" else value)
    return {**found, **OWN_SERIES}


def page(tools):
    """Prometheus's own client reads the page"""
    kind, text = scraped(tools)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8", kind
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, kind in {
        "rpc_server_call_duration_seconds": "histogram",
        "bank_calls_in_flight": "gauge",
        "bank_connections": "gauge",
        "bank_transactions": "counter",
        "bank_refusals": "counter",
        "bank_group_size": "histogram",
        "bank_sync_duration_seconds": "histogram",
        "bank_build": "info",
        "process_cpu_seconds": "counter",
    }.items():
        assert families[name].type == kind, f"{name} is a {families[name].type}"
    assert all(family.documentation for family in families.values()), "one has no help"

    def value(name, **labels):
        family = families[name.removesuffix("_total").removesuffix("_count")]
        matching = (s for s in family.samples if s.name == name and labels.items() <= s.labels.items())
        return sum(sample.value for sample in matching)

    transfers = {"rpc_method": "bank.v1.BankService/Transfer", "rpc_response_status_code": "OK"}
    for came, expected in (
        (value("rpc_server_call_duration_seconds_count", **transfers), 2),
        (value("bank_transactions_total", type="transfer"), 1),
        (value("bank_replays_total"), 1),
        (value("bank_refusals_total", reason="INSUFFICIENT_FUNDS"), 1),
        (value("bank_refusals_total", reason="ACCOUNT_NOT_FOUND"), 1),
        (value("bank_accounts"), 2),
        (value("bank_holds"), 1),
        (value("bank_durable_lag_records"), 0),
        (value("bank_ready"), 1),
    ):
        assert came == expected, f"{came} and not {expected}"
    assert value("bank_records") >= 6 and value("bank_group_size_count") >= 6


def dashboard(tools):
    """The dashboard asks for what there is"""
    board = json.loads((tools.root / "deploy/grafana/bank.json").read_text())
    variables = {variable["name"] for variable in board["templating"]["list"]}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids), "two panels have one id"
    asked = 0
    for panel in board["panels"]:
        where = panel["title"]
        places = panel["gridPos"]
        assert places["x"] + places["w"] <= 24, f"{where} is wider than the page"
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references), f"{where}: two queries have one name"
        for target in panel.get("targets", []):
            asked += 1
            check(tools, where, filled(target["expr"], variables))
            for label in re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]):
                known_label(tools, where, label)
    for annotation in board["annotations"]["list"]:
        check(tools, annotation["name"], filled(annotation["expr"], variables))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert query, variable["definition"]
            check(tools, variable["name"], filled(query[1], variables))
            known_label(tools, variable["name"], query[2])
    assert asked > 20, "the panels were not read"


def filled(expression, variables):
    """With something for what Grafana puts in."""
    for name in re.findall(r"\$(\w+)", expression):
        assert name in variables | {"__rate_interval"}, f"${name} is no variable"
    return expression.replace("$__rate_interval", "5m")


def alerts(tools):
    """The alerts ask for what there is"""
    text = yaml.safe_load((tools.root / "deploy/prometheus/alerts.yaml").read_text())
    rules = [rule for group in text["groups"] for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names) > 10, names
    for rule in rules:
        where = rule["alert"]
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, where
        assert rule["labels"]["severity"] in SEVERITIES, where
        assert rule["annotations"].keys() == {"summary", "description"}, where
        check(tools, where, rule["expr"])
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            known_label(tools, where, label)


def check(tools, where, expression):
    """Every series, label and value in a query is one that the bank has."""
    try:
        query = promql_parser.parse(expression)
    except ValueError as error:
        raise AssertionError(f"{where}: {error}: {expression}") from None
    selected = 0

    def visit(node):
        nonlocal selected
        if isinstance(node, promql_parser.VectorSelector):
            selected += 1
            check_selector(tools, where, node)
        modifier = getattr(node, "modifier", None)
        labels = getattr(modifier, "labels", None) or []
        matching = getattr(modifier, "matching", None)
        for label in [*labels, *(getattr(matching, "labels", None) or [])]:
            known_label(tools, where, label)

    promql_parser.walk(query, visit)
    assert selected, f"{where}: it asks for nothing: {expression}"


def check_selector(tools, where, selector):
    known = series(tools)
    assert selector.name in known, f"{where}: there is no {selector.name}"
    labels = known[selector.name]
    for matcher in selector.matchers.matchers:
        if matcher.name in ADDED_LABELS:
            continue
        assert matcher.name in labels, f"{where}: {selector.name} has no label {matcher.name}"
        for value in wanted(matcher):
            assert any(re.fullmatch(value, one) for one in labels[matcher.name]), (
                f"{where}: no {matcher.name} of {selector.name} is {value}"
            )


def wanted(matcher):
    """The values that a matcher asks for, as regular expressions; of those it leaves out nothing is said."""
    if matcher.op == promql_parser.MatchOp.Equal:
        return [re.escape(matcher.value)]
    if matcher.op == promql_parser.MatchOp.Re:
        # Each alternative must find something, where they are plain.
        is_plain = re.fullmatch(r"[\w|]+", matcher.value)
        return matcher.value.split("|") if is_plain else [matcher.value]
    return []


def known_label(tools, where, label):
    known = {name for labels in series(tools).values() for name in labels} | ADDED_LABELS
    assert label in known, f"{where}: no series has the label {label}"


def promtool(tools):
    """promtool takes the rules, and they fire when they should"""
    tool = tools.find("promtool")
    folder = tools.root / "deploy/prometheus"
    succeed([tool, "check", "config", "prometheus.yaml"], cwd=folder)
    succeed([tool, "test", "rules", "alerts_test.yaml"], cwd=folder)


CHECKS = [page, dashboard, alerts, promtool]
