;; fails: out-of-fuel in evaluate
;; pages: 30
;; in evaluate
(loop $again (memory.copy (i32.const 65536) (i32.const 65540) (i32.const 1900000)) (br $again))
