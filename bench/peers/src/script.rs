//! Languages that are interpreted inside the host. They get only the values that the rule reads, not the whole context.
//! They have no separate memory, and only the limits that each of them offers.

use std::rc::Rc;

use bench::harness::Row;
use bench::rules::{DAYS, Rule};
use meed_host::contract::{Arguments, Awards, Decision, Fact, Outcome, Progress, Reason, Streak};
use rhai::{AST, Dynamic, Engine, ImmutableString, Map, Scope};

use crate::json;

const RHAI: &str = r#"
let reasons = [];
let retry_at = ();
if current < days {
    let missing = days - current;
    let noun = if missing == 1 { "day" } else { "days" };
    reasons.push(#{ code: "streak-too-short", message: `Log in on ${missing} more ${noun} in a row.`, missing: `${missing}` });
    let ahead = missing - if current > 0 && last_day == today { 0 } else { 1 };
    if ahead > 0 {
        let since_midnight = hour * 3600 + minute * 60 + second;
        retry_at = now - now % 1000 + (ahead * 86400 - since_midnight) * 1000;
    }
}
let done = if current < days { current } else { days };
#{ eligible: current >= days, reasons: reasons, progress: [#{ key: "days", current: done, target: days }], retry_at: retry_at }
"#;
const CEL: &str = "current >= days";

pub(crate) fn rows(rule: &Rc<Rule>) -> anyhow::Result<Vec<Row>> {
    Ok(vec![rhai(rule)?, cel(rule)?])
}

fn rhai(rule: &Rc<Rule>) -> anyhow::Result<Row> {
    let mut engine = Engine::new();
    engine.set_max_operations(1_000_000);
    let (script, rule) = (engine.compile(RHAI)?, Rc::clone(rule));
    Ok(Row::new("rhai, whole decision", move |samples| {
        samples.take(|| {
            let decision = interpret(&engine, &script, &rule);
            assert_eq!(decision, rule.decision);
            decision
        });
    }))
}

fn interpret(engine: &Engine, script: &AST, rule: &Rule) -> Decision {
    let (context, streak) = (&rule.context, streak(rule));
    let mut scope = Scope::new();
    scope.push("days", i64::from(DAYS));
    scope.push("current", i64::from(streak.current));
    scope.push(
        "last_day",
        streak.last_day.map_or(String::new(), |date| date.to_string()),
    );
    scope.push("today", context.local.date.to_string());
    scope.push("now", context.now.as_millis());
    scope.push("hour", i64::from(context.local.hour));
    scope.push("minute", i64::from(context.local.minute));
    scope.push("second", i64::from(context.local.second));
    let mut answer: Map = engine.eval_ast_with_scope(&mut scope, script).expect("it ran before");

    let mut take = |field: &str| answer.remove(field).expect("the script sets all of them");
    let entries = |list: Dynamic| list.into_typed_array::<Map>().expect("a list of maps").into_iter();
    Decision {
        outcome: json::outcome(take("eligible").cast()),
        reasons: entries(take("reasons"))
            .map(|mut reason| Reason {
                code: text(&mut reason, "code"),
                message: text(&mut reason, "message"),
                args: Arguments::from([("missing".to_owned(), text(&mut reason, "missing"))]),
            })
            .collect(),
        progress: entries(take("progress"))
            .map(|mut progress| Progress {
                key: text(&mut progress, "key"),
                current: progress["current"].clone().cast(),
                target: progress["target"].clone().cast(),
            })
            .collect(),
        awards: Awards::Chosen(Vec::new()),
        retry_at: take("retry_at").try_cast().map(json::instant),
    }
}

fn text(map: &mut Map, field: &str) -> String {
    let text: ImmutableString = map.remove(field).expect("the script sets it").cast();
    text.into_owned()
}

/// It returns a bool. The host would have to add the reason and the progress.
fn cel(rule: &Rc<Rule>) -> anyhow::Result<Row> {
    let program = cel::Program::compile(CEL)?;
    // Created once, because it contains the standard library.
    let (shared, rule) = (cel::Context::default(), Rc::clone(rule));
    Ok(Row::new("cel, yes or no only", move |samples| {
        samples.take(|| {
            let mut scope = shared.new_inner_scope();
            scope.add_variable_from_value("days", i64::from(DAYS));
            scope.add_variable_from_value("current", i64::from(streak(&rule).current));
            let answer = program.execute(&scope).expect("it ran before");
            assert_eq!(answer, cel::Value::Bool(rule.decision.outcome == Outcome::Eligible));
            answer
        });
    }))
}

fn streak(rule: &Rule) -> &Streak {
    match &*rule.facts {
        [Fact::Days(streak)] => streak,
        facts => panic!("login-streak asks for one streak, not for {facts:?}"),
    }
}
