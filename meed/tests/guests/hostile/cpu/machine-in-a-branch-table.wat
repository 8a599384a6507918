;; fails: out-of-fuel in evaluate
;; An interpreter that jumps between its cases endlessly.
;; in evaluate
(local $state i32)
(loop $next
  (block $c (block $b (block $a
    (br_table $a $b $c (i32.and (local.get $state) (i32.const 3))))
    (local.set $state (i32.const 1)) (br $next))
    (local.set $state (i32.const 2)) (br $next))
  (local.set $state (i32.const 0)) (br $next))
