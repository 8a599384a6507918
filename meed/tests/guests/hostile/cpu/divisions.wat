;; fails: out-of-fuel in evaluate
;; The slowest arithmetic: square roots and divisions of NaN.
;; in evaluate
(local $x f64) (local $n i64)
(local.set $x (f64.const 1e-320))
(local.set $n (i64.const -1))
(loop $again
  (local.set $x (f64.sqrt (f64.div (local.get $x) (f64.const 1.0000001))))
  (local.set $n (i64.div_u (i64.const -1) (i64.or (local.get $n) (i64.const 3))))
  (br $again))
