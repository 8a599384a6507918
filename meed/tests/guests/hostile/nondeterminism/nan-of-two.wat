;; fails: trap in evaluate
;; Which of two payloads wins differs between processors; here none does.
;; Traps when it finds the one bit pattern that is allowed; any other would be eligible.
;; in evaluate
(if (i32.eqz (i32.ne (i32.reinterpret_f32 (f32.mul (f32.const nan:0x200001) (f32.const -nan:0x200002))) (i32.const 0x7fc00000))) (then unreachable))
