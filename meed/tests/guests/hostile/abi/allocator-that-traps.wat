;; fails: trap in evaluate
;; in realloc
unreachable
