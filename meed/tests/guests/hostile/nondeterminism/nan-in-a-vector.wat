;; fails: trap in evaluate
;; The same in a vector.
;; Traps when it finds the one bit pattern that is allowed; any other would be eligible.
;; in evaluate
(if (i32.eqz (i32.ne (i32x4.extract_lane 0 (f32x4.div (f32x4.splat (f32.const 0)) (f32x4.splat (f32.const 0)))) (i32.const 0x7fc00000))) (then unreachable))
