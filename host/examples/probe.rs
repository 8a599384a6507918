use std::path::PathBuf;
use meed_host::contract::*;
use meed_host::sandbox::*;
fn main() {
    let mut a = std::env::args().skip(1);
    let meed: PathBuf = a.next().unwrap().into();
    let files: Vec<String> = a.collect();
    let rt = tokio::runtime::Runtime::new().unwrap();
    rt.block_on(async {
        let mut s = Settings { language_runtimes: true, ..Settings::default() };
        s.runtime.call.evaluate_deadline_ms = 20_000; s.runtime.call.setup_deadline_ms = 20_000;
        let cache = CodeCache { directory: "/tmp/lang/cache".into(), key: [5; 32] };
        let sb = Sandbox::new(&s, meed, Some(cache)).unwrap();
        for f in files {
            let bytes = std::fs::read(&f).unwrap();
            let t = std::time::Instant::now();
            let ad = match sb.admit(bytes).await { Ok(a) => a, Err(e) => { println!("{f}: REFUSED {}: {e}", e.code()); continue } };
            println!("{f}: {} {} admitted in {:?}", ad.class, ad.bytes, t.elapsed());
            let p = sb.loaded(ad.digest).unwrap();
            let b = sb.bind(&p, r#"{"days":4,"spent":5000}"#).await;
            println!("  bind fuel {} mem {} {:?} {:?}", b.fuel, b.memory, b.elapsed, b.outcome.as_ref().map(|b| b.as_ref().map(|b| b.queries.len())));
            let i = sb.bind(&p, r#"{"days":5,"spent":4}"#).await; println!("  issues {:?}", i.outcome);
            let Ok(Ok(b)) = b.outcome else { continue };
            let now = "2026-03-01T09:30:00Z".parse().unwrap();
            let context = Context { now, local: LocalTime { date: "2026-03-01".parse().unwrap(), weekday: 7, hour: 18, minute: 30, second: 0, utc_offset_minutes: 540 }, time_zone: "Asia/Seoul".into(), event: EventInfo { id: "event".into(), title: "봄 🎉".into(), starts: now, ends: now }, user: UserInfo { id: "u".into(), registered: now }, rewards: vec![], seed: [9; 32] };
            let mut times = vec![]; let mut last = None;
            for _ in 0..50 { let c = sb.evaluate(&p, &context, &b.state, &[Fact::Integer(3), Fact::Integer(-9007199254740991)]).await; times.push(c.elapsed); last = Some(c); }
            times.sort(); let c = last.unwrap();
            println!("  evaluate fuel {} mem {} min {:?} median {:?} {:?}", c.fuel, c.memory, times[0], times[25], c.outcome);
        }
    });
}
