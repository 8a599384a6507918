;; fails: trap in describe
;; in items
(func $start unreachable)
(start $start)
