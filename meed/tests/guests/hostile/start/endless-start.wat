;; fails: out-of-fuel in describe
;; A start function runs before any export is called.
;; in items
(func $start (loop $again (br $again)))
(start $start)
