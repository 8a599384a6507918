;; fails: trap in evaluate
;; A payload must not survive a promotion.
;; Traps when it finds the one bit pattern that is allowed; any other would be eligible.
;; in evaluate
(if (i32.eqz (i64.ne (i64.reinterpret_f64 (f64.promote_f32 (f32.const nan:0x200001))) (i64.const 0x7ff8000000000000))) (then unreachable))
