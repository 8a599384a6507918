;; fails: trap in evaluate
;; in evaluate
(memory.fill (i32.const 65536) (i32.const 65) (i32.const 65537))
