//! `windrow new`: makes a crate with a job as a starting point.

use super::path_failure;
use crate::args::New;
use crate::exit::Exit;
use crate::output::{self, Format};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use windrow_model::view::NewCrateView;
use windrow_model::{Code, Escape, Failure};

const MANIFEST: &str = include_str!("../../templates/manifest.toml");
const MAIN: &str = include_str!("../../templates/main.rs");
const README: &str = include_str!("../../templates/README.md");
const GITIGNORE: &str = include_str!("../../templates/gitignore");

/// Where this program was built; a checkout of Windrow unless it came from a registry.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Bytes of a crate's name, as registries limit it.
const NAME_MAX: usize = 64;

/// Names with another meaning for cargo or the compiler, and names of the crate's own dependencies.
const TAKEN: [&str; 12] = [
    "alloc",
    "build",
    "clap",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "proc_macro",
    "serde",
    "std",
    "test",
];

const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Makes the crate in a new folder of the current one, and prints the next steps.
///
/// # Errors
/// `BAD_REQUEST` for an invalid crate name, an existing folder, or a `--path` without Windrow; `IO_ERROR`, after which
/// the folder is removed.
pub(crate) fn run(args: New, format: Format) -> Result<Exit, Failure> {
    check_name(&args.name)?;
    let windrow = Windrow::find(args.path.as_deref())?;
    let folder = PathBuf::from(&args.name);
    fs::create_dir(&folder).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => refused(format!("`{}` exists: choose another name", args.name)),
        _ => failed(&folder, &e),
    })?;
    if let Err(failure) = fill(&folder, &args.name, &windrow) {
        // The folder is new, and holds only files written here.
        let _ = fs::remove_dir_all(&folder);
        return Err(failure);
    }
    let next =
        [format!("cd {}", args.name), "cargo test".into(), "cargo run --release -- README.md --output words".into()];
    match format {
        Format::Table => {
            output::say(&format!("made the crate {}: a job that counts words. Next:", args.name));
            output::put(&next.join("\n"))?;
        }
        Format::Json => output::put_json(&NewCrateView { name: &args.name, next: &next })?,
    }
    Ok(Exit::Done)
}

/// The dependency of the new crate.
struct Windrow {
    /// The value in the manifest.
    dependency: String,
    /// The lock file of the checkout that this program was built from.
    lock: Option<PathBuf>,
}

impl Windrow {
    /// The checkout at `path`, else the one that this program was built from, else the release of this version.
    fn find(path: Option<&Path>) -> Result<Windrow, Failure> {
        let checkout = match path {
            Some(path) => Some(checkout(path).ok_or_else(|| {
                refused(format!("--path {}: this folder is not a checkout of Windrow", path.escaped()))
            })?),
            None => checkout(Path::new(BUILT_FROM)),
        };
        let Some(checkout) = checkout else {
            let dependency = format!("{{ version = \"{}\", default-features = false }}", env!("CARGO_PKG_VERSION"));
            return Ok(Windrow { dependency, lock: None });
        };
        let api = checkout.join("api");
        let text = api
            .to_str()
            .ok_or_else(|| refused(format!("{}: a path in a manifest of cargo must be UTF-8", checkout.escaped())))?;
        let dependency = format!("{{ path = {}, default-features = false }}", toml::Value::from(text));
        Ok(Windrow { dependency, lock: Some(checkout.join("Cargo.lock")).filter(|lock| lock.is_file()) })
    }
}

/// The absolute path of a checkout; none if the folder has no crate `windrow` in `api`.
fn checkout(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let manifest: toml::Table = fs::read_to_string(folder.join("api/Cargo.toml")).ok()?.parse().ok()?;
    (manifest.get("package")?.get("name")?.as_str()? == "windrow").then_some(folder)
}

fn fill(folder: &Path, name: &str, windrow: &Windrow) -> Result<(), Failure> {
    let write = |file: &str, text: &str| {
        let path = folder.join(file);
        let text = text.replace("@NAME@", name).replace("@WINDROW@", &windrow.dependency);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|e| failed(&path, &e))
    };
    write("Cargo.toml", MANIFEST)?;
    write("README.md", README)?;
    write(".gitignore", GITIGNORE)?;
    fs::create_dir(folder.join("src")).map_err(|e| failed(folder, &e))?;
    write("src/main.rs", MAIN)?;
    if let Some(lock) = &windrow.lock {
        // With the same versions it builds wherever the checkout does, also without a network.
        let text = fs::read(lock).map_err(|e| failed(lock, &e))?;
        let path = folder.join("Cargo.lock");
        fs::write(&path, text).map_err(|e| failed(&path, &e))?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Err(refused(format!("invalid crate name `{}`: {why}", name.escaped())));
    if name.is_empty() || name.len() > NAME_MAX {
        return wrong("it must have 1 to 64 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return wrong("it must begin with a letter from a to z");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return wrong("it may have letters from a to z, digits, `-` and `_`");
    }
    if KEYWORDS.contains(&name) {
        return wrong("it is a keyword of Rust");
    }
    if TAKEN.contains(&name) || name == "windrow" || name.starts_with("windrow-") {
        return wrong("it is taken by a crate that the job needs, or by a tool");
    }
    Ok(())
}

fn refused(message: String) -> Failure {
    Failure::new(Code::BadRequest, message)
}

fn failed(path: &Path, e: &io::Error) -> Failure {
    path_failure(Code::IoError, path, e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_refuses_are_refused_with_the_reason() {
        for name in ["job", "count-words", "Job_2", &"a".repeat(NAME_MAX)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let wrong =
            ["", "2jobs", "-x", "_x", "a b", "a/b", "..", "a.b", "ä", "a\n", "a\u{202e}b", "fn", "test", "serde"];
        for name in wrong.into_iter().chain(["windrow", "windrow-job", &*"a".repeat(NAME_MAX + 1)]) {
            let failure = check_name(name).unwrap_err();
            assert_eq!(failure.code, Code::BadRequest, "{name}");
            assert!(!failure.message.contains(['\n', '\u{202e}']), "{}", failure.message);
        }
    }

    #[test]
    fn checkout_is_known_by_its_crate() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(checkout(folder.path()), None);
        fs::create_dir(folder.path().join("api")).unwrap();
        for manifest in ["not toml", "[package]\nname = \"other\"\n", "[workspace]\n"] {
            fs::write(folder.path().join("api/Cargo.toml"), manifest).unwrap();
            assert_eq!(checkout(folder.path()), None, "{manifest}");
        }
        assert!(checkout(Path::new(BUILT_FROM)).is_some());
    }
}
