;; fails: trap in evaluate
;; Writes to memory, a global and a table, and looks for values of an earlier call. It traps if there are none, which
;; is always the case; otherwise it would be eligible.
;; in items
(global $calls (mut i32) (i32.const 0))
(table $t 1 funcref)
(elem declare func $f)
(func $f)
;; in evaluate
(if (i32.and
      (i32.and (i32.eqz (global.get $calls)) (i32.eqz (i32.load (i32.const 8))))
      (ref.is_null (table.get $t (i32.const 0))))
  (then
    (global.set $calls (i32.const 1))
    (i32.store (i32.const 8) (i32.const 1))
    (table.set $t (i32.const 0) (ref.func $f))
    unreachable))
