;; fails: trap in evaluate
;; Processors disagree about the sign of 0/0.
;; Traps when it finds the one bit pattern that is allowed; any other would be eligible.
;; in evaluate
(if (i32.eqz (i64.ne (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0))) (i64.const 0x7ff8000000000000))) (then unreachable))
