//! Checks a policy document, or makes the manifest that the gateway reads
//! from KV. Run by `npm run deploy`, and by hand:
//!
//! ```sh
//! cargo run --example policy -- check policies/staging.json [--json]
//! cargo run --example policy -- manifest policies/staging.json --sequence 1 --revision r1
//! ```
//!
//! It also writes what is generated from the types:
//!
//! ```sh
//! cargo run --example policy -- schema       # www/policy.schema.json
//! cargo run --example policy -- reference    # docs/reference.md
//! cargo run --example policy -- openapi      # www/openapi.json
//! ```

use std::process::ExitCode;

use edgeweir::policy::compile;
use edgeweir::policy::manifest::Manifest;
use edgeweir::policy::needs::{FIRST, least_module};
use serde_json::json;

const USAGE: &str = "\
Usage:
  policy check FILE [--json]                                 lists every problem; exit code 1 when there is one.
                                                             With --json: the result as JSON, whatever it is
  policy manifest FILE [--sequence N] [--revision NAME] [--metadata]
                                                             prints the value of the KV key \"active\", or its metadata
  policy schema                                              writes www/policy.schema.json
  policy reference                                           writes docs/reference.md
  policy openapi                                             writes www/openapi.json";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(text) => {
            // The hash is of the value alone: no line feed behind it.
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(problem)) => {
            eprintln!("error: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Policy(problems)) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Usage(String),
    Policy(String),
}

fn run(arguments: &[String]) -> Result<String, Failure> {
    let usage = |problem: &str| Failure::Usage(problem.to_owned());
    if arguments.iter().any(|argument| argument == "--help") {
        return Ok(USAGE.to_owned());
    }
    let (command, rest) = arguments.split_first().ok_or_else(|| usage("expected a command"))?;
    if rest.is_empty() && matches!(command.as_str(), "schema" | "reference" | "openapi") {
        return generate(command);
    }
    let (file, options) = rest.split_first().ok_or_else(|| usage("expected a file"))?;
    let text = std::fs::read_to_string(file).map_err(|error| Failure::Policy(format!("{file}: {error}")))?;
    if command == "check" && options == ["--json"] {
        return Ok(check_json(&text));
    }
    let gateway = compile(&text).map_err(|error| {
        let lines: Vec<String> = error.problems.iter().map(|problem| format!("{file}: {problem}")).collect();
        Failure::Policy(lines.join("\n"))
    })?;
    match command.as_str() {
        "check" if options.is_empty() => Ok(format!(
            "{file}: good; routes: {}, upstreams: {}\n",
            gateway.routes.len(),
            gateway.upstreams.len()
        )),
        "manifest" => manifest(text, options),
        _ => {
            Err(usage("expected \"check FILE\", \"manifest FILE\", \"schema\", \"reference\" or \"openapi\""))
        }
    }
}

fn generate(what: &str) -> Result<String, Failure> {
    use edgeweir::policy::schema;
    let (path, text) = match what {
        "schema" => ("www/policy.schema.json", schema::text()),
        "openapi" => ("www/openapi.json", edgeweir::admin::openapi::text()),
        _ => ("docs/reference.md", schema::reference::text()),
    };
    std::fs::write(path, text).map_err(|error| Failure::Policy(format!("{path}: {error}")))?;
    Ok(format!("{path}: written\n"))
}

/// The result of a check for programs, whatever it is.
fn check_json(text: &str) -> String {
    let result = match compile(text) {
        Ok(_) => {
            let module = serde_json::from_str(text).map_or(FIRST, |tree| least_module(&tree));
            json!({"valid": true, "module": module.to_string(), "problems": []})
        }
        Err(error) => {
            let problems = error.problems.into_iter();
            let problems: Vec<_> = problems
                .map(|problem| json!({"path": problem.path, "value": problem.value, "expected": problem.expected}))
                .collect();
            json!({"valid": false, "problems": problems})
        }
    };
    format!("{result}\n")
}

fn manifest(policy: String, options: &[String]) -> Result<String, Failure> {
    let mut manifest = Manifest::new(1, "r1", policy);
    let mut metadata = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().ok_or_else(|| Failure::Usage(format!("{option} expects a value")));
        match option.as_str() {
            "--metadata" => metadata = true,
            "--revision" => manifest.revision.clone_from(value()?),
            "--sequence" => {
                manifest.sequence =
                    value()?.parse().map_err(|_| Failure::Usage("--sequence expects a number".to_owned()))?;
            }
            _ => return Err(Failure::Usage(format!("unknown option {option}"))),
        }
    }
    let (value, meta) = manifest.encode().map_err(Failure::Policy)?;
    // What is written is read once here, by the reader that will read it.
    Manifest::parse(&value, Some(&meta)).map_err(|error| Failure::Policy(error.to_string()))?;
    Ok(if metadata { meta } else { value })
}
