;; A hand-written condition, with a placeholder for every part that a test can replace with hostile code.
;; Its results are data: records of the canonical ABI, which `guests.rs` places in memory.
(module
  {imports}
  (memory (export "memory") {pages})
  (global $free (mut i32) (i32.const {heap}))
  {items}

  ;; Allocates memory and never frees it: an instance serves one call.
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
