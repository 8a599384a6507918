;; fails: out-of-fuel in evaluate
;; in realloc
(loop $again (br $again))
