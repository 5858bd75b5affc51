"""The manifests for Kubernetes: whole, of its schemas, of one mind, and hardened."""

import kubernetes_validate
import yaml

from checks import NotRun, settings_of, succeed

# The oldest in which all of it works, and the newest whose schemas are at hand.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
KUSTOMIZATION = "kustomization.yaml"


def kustomizations(tools):
    """{folder: what its kustomization.yaml says}"""
    files = sorted((tools.root / "deploy/kubernetes").rglob(KUSTOMIZATION))
    return {file.parent: yaml.safe_load(file.read_text()) for file in files}


def manifests(tools, folder=None):
    """(file, manifest) of each manifest, of all folders or of one and those that it builds on."""
    known = kustomizations(tools)
    folders = known if folder is None else built_on(folder, known)
    return [
        (file.relative_to(tools.root), manifest)
        for one in folders
        for file in sorted(one.glob("*.yaml"))
        if file.name != KUSTOMIZATION
        for manifest in yaml.safe_load_all(file.read_text())
    ]


def built_on(folder, known):
    below = [(folder / name).resolve() for name in known[folder]["resources"]]
    return [folder, *(other for one in below if one.is_dir() for other in built_on(one, known))]


def pods(tools):
    """(file, manifest, template) of whatever makes pods."""
    for file, manifest in manifests(tools):
        if "template" in manifest.get("spec", {}):
            yield file, manifest, manifest["spec"]["template"]


def complete(tools):
    """Every manifest is in a kustomization, and every name in one is there"""
    known = kustomizations(tools)
    assert len(known) == 3, known.keys()
    for folder, text in known.items():
        assert text["apiVersion"] == "kustomize.config.k8s.io/v1beta1", folder
        assert text["kind"] == "Kustomization", folder
        assert text.keys() <= {"apiVersion", "kind", "resources", "images"}, folder
        for name in text["resources"]:
            assert (folder / name).exists(), f"{folder.name}: there is no {name}"
        listed = {name for name in text["resources"] if name.endswith(".yaml")}
        there = {file.name for file in folder.glob("*.yaml")} - {KUSTOMIZATION}
        assert listed == there, f"{folder.name}: {listed ^ there}"
        if folder.name != "base":
            assert [image["name"] for image in text["images"]] == ["bank"], folder.name


def schemas(tools):
    """Every manifest is of the schemas of Kubernetes"""
    for file, manifest in manifests(tools):
        valid(file, manifest)


def valid(where, manifest):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            raise AssertionError(f"{where}, {version}: {path}: {error.message}") from None


def rendered(tools):
    """kustomize puts them together, and the outcome is of the schemas"""
    try:
        command = [tools.find("kustomize"), "build"]
    except NotRun:
        try:
            command = [tools.find("kubectl"), "kustomize"]
        except NotRun:
            raise NotRun("neither kustomize nor kubectl is installed") from None
    for folder, text in kustomizations(tools).items():
        outcome = list(yaml.safe_load_all(succeed([*command, folder])))
        assert len(outcome) == len(manifests(tools, folder)), folder.name
        for manifest in outcome:
            valid(f"{folder.name}, rendered", manifest)
            template = manifest.get("spec", {}).get("template")
            for container in template["spec"]["containers"] if template else []:
                image = "{newName}:{newTag}".format(**text["images"][0])
                assert container["image"] == image, container["image"]


def hardened(tools):
    """Every pod runs with as little as it needs"""
    seen = 0
    for file, _, template in pods(tools):
        seen += 1
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, file
        assert spec["securityContext"]["runAsNonRoot"] is True, file
        assert spec["securityContext"]["runAsUser"] > 0, file
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, file
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, file
            assert context["allowPrivilegeEscalation"] is False, file
            assert context["capabilities"] == {"drop": ["ALL"]}, file
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), file
            assert "memory" in container["resources"]["limits"], file
    assert seen == 3, seen


def joined(tools):
    """What names something else names something that is there"""
    for folder in kustomizations(tools):
        together = manifests(tools, folder)
        templates = [m["spec"]["template"] for _, m in together if "template" in m.get("spec", {})]
        labels = [template["metadata"]["labels"] for template in templates]
        ports = {
            port["name"]: port["containerPort"]
            for template in templates
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
        }
        names = {(manifest["kind"], manifest["metadata"]["name"]) for _, manifest in together}
        for file, manifest in together:
            spec = manifest.get("spec", {})
            if manifest["kind"] != "Namespace":
                assert manifest["metadata"]["namespace"] == "bank", file
            if not templates:
                continue
            for chosen in selectors(manifest):
                assert any(chosen.items() <= one.items() for one in labels), f"{file}: {chosen}"
            for port in spec.get("ports", []):
                assert port["targetPort"] in ports, f"{file}: {port}"
            for rule in spec.get("ingress", []):
                assert all(port["port"] in ports for port in rule["ports"]), file
            if "serviceName" in spec:
                assert ("Service", spec["serviceName"]) in names, file
        for template in templates:
            account = template["spec"]["serviceAccountName"]
            assert ("ServiceAccount", account) in names, account


def selectors(manifest):
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return [spec["selector"]]
    chosen = [spec.get("selector"), spec.get("podSelector")]
    return [one["matchLabels"] for one in chosen if one]


def containers(tools):
    """The containers' ports, probes and files are those of their arguments"""
    for file, manifest, template in pods(tools):
        claims = [claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])} | set(claims)
        for container in template["spec"]["containers"]:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts.keys() == volumes, f"{file}: {mounts.keys() ^ volumes}"
            flags = dict(argument.split("=", 1) for argument in container["args"][1:])
            paths = [value for value in flags.values() if value.startswith("/")]
            for path in paths:
                assert any(path.startswith(f"{mount}/") for mount in mounts.values()), f"{file}: {path}"
            for mount in mounts.values():
                assert any(path.startswith(f"{mount}/") for path in paths), f"{file}: {mount}"
            if container["args"][0] != "serve":
                continue
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            asked = {name: int(flags[f"--{flag}"].rsplit(":", 1)[1])
                     for name, flag in (("grpc", "listen"), ("metrics", "metrics"))}
            assert ports == asked, f"{file}: {ports}"
            for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
                get = container[probe]["httpGet"]
                assert get == {"path": path, "port": "metrics"}, f"{file}: {get}"


def settings(tools):
    """The settings of the manifests are the bank's"""
    for file, _, template in pods(tools):
        for container in template["spec"]["containers"]:
            command, *arguments = container["args"]
            flags = {argument.split("=")[0] for argument in arguments}
            unknown = flags - settings_of(tools, command)
            assert not unknown, f"{file}: {unknown}"


def alike(tools):
    """One bank and several differ in nothing but the store"""
    serving = [
        template["spec"] for _, manifest, template in pods(tools) if manifest["kind"] != "Job"
    ]
    one, several = ({**spec, **spec["containers"][0]} for spec in serving)
    for key in ("securityContext", "ports", "readinessProbe", "livenessProbe", "image"):
        assert one[key] == several[key], key
    stores = ("--data=", "--database-url-file=")
    arguments = [
        [argument for argument in spec["args"] if not argument.startswith(stores)]
        for spec in (one, several)
    ]
    assert arguments[0] == arguments[1], arguments


CHECKS = [complete, schemas, rendered, hardened, joined, containers, settings, alike]
