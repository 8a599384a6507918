;; A condition written by hand, with a hole for every part that a test may want to fill with something hostile.
;; What it answers is data: the records of the canonical ABI, laid out in memory by `guests.rs`.
(module
  {imports}
  (memory (export "memory") {pages})
  (global $free (mut i32) (i32.const {heap}))
  {items}

  ;; Hands out memory and never takes it back: an instance serves one call.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    {realloc}
    (global.set $free
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))

  (func (export "describe") (result i32)
    {describe}
    (i32.const {manifest}))

  (func (export "bind") (param $params i32) (param $length i32) (result i32)
    {bind}
    (i32.const {binding}))

  (func (export "evaluate") (param $input i32) (result i32)
    {evaluate}
    (i32.const {decision}))

  (data (i32.const {base}) "{image}"))
