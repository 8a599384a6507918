;; fails: out-of-fuel in evaluate
;; One instruction for two megabytes; it cannot be interrupted.
;; pages: 30
;; in evaluate
(loop $again (memory.fill (i32.const 65536) (i32.const 7) (i32.const 1900000)) (br $again))
