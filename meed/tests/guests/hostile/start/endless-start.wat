;; fails: out-of-fuel in describe
;; A start function runs before anything was called.
;; in items
(func $start (loop $again (br $again)))
(start $start)
