//! The floors of the house: imports go down only.
//!
//! Read from the `use` lines and the paths of the sources, so that an arrow that goes up fails here
//! before anybody has to notice it.

use std::path::{Path, PathBuf};

/// From the bottom up; a module may use those before it.
const FLOORS: [&str; 11] = [
    "ledger",
    "clock",
    "histogram",
    "wire",
    "store",
    "auth",
    "grpc",
    "server",
    "config",
    "telemetry",
    "cli",
];

/// What a floor must never name, whatever is installed.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "ledger",
        &["tonic", "prost", "prost_types", "tokio", "rusqlite", "tracing", "uuid", "http", "bytes"],
    ),
    (
        "store",
        &[
            "tonic",
            "tonic_types",
            "tonic_health",
            "http",
            "clap",
            "prometheus_client",
            "opentelemetry",
        ],
    ),
    ("auth", &["tonic", "tonic_types", "clap"]),
    ("grpc", &["clap", "rusqlite", "prometheus_client"]),
];

#[test]
fn imports_go_down_only() {
    let mut arrows_seen = 0;
    for file in sources() {
        let floor = floor_of(&file);
        for line in code_lines(&file) {
            for (index, other) in FLOORS.iter().enumerate() {
                if !line.contains(&format!("crate::{other}")) {
                    continue;
                }
                arrows_seen += 1;
                let own = FLOORS.iter().position(|it| *it == floor).unwrap_or(FLOORS.len());
                assert!(index <= own, "{}: goes up to {other}: {line}", file.display());
            }
        }
    }
    assert!(arrows_seen > 10, "the sources were not read");
}

#[test]
fn floors_keep_to_their_own_crates() {
    for (floor, forbidden) in FORBIDDEN {
        let files: Vec<_> = sources().into_iter().filter(|file| floor_of(file) == floor).collect();
        assert!(!files.is_empty(), "{floor} was not found");
        for file in files {
            for line in code_lines(&file) {
                for name in forbidden {
                    let path =
                        if name.contains("::") { (*name).to_owned() } else { format!("{name}::") };
                    let is_named = line.match_indices(&path).any(|(at, _)| {
                        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    });
                    assert!(!is_named, "{}: names {name}: {line}", file.display());
                }
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for file in sources() {
        let text = std::fs::read_to_string(&file).expect("it can be read");
        assert!(text.starts_with("//! "), "{} does not begin with //!", file.display());
    }
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![source_folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The first folder, or the file's own name, below `src`.
fn floor_of(file: &Path) -> String {
    let path = file.strip_prefix(source_folder()).expect("it is below src");
    let first = path.components().next().expect("it has a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn code_lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file)
        .expect("it can be read")
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_file_of_tests_is_told_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let files = std::fs::read_dir(root.join("tests/bank")).expect("it is there");
    let files = files.map(|file| file.expect("it can be read").path());
    let files = files.filter(|file| file.extension().is_some_and(|it| it == "rs"));
    let names = files.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()));
    let names: Vec<_> = names.filter(|name| name != "main.rs").collect();
    assert!(names.len() > 10, "the tests were not found");
    for name in names {
        assert!(told.contains(&format!("`{name}`")), "{name} isn't in the table of tests");
    }
}
