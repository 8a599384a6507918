;; A condition that returns its input bytes as the result: `evaluate` returns the state, `bind` the hexadecimal params.
;; The bytes are written to memory from address 0 on, and the result is at 0.
(module
  (memory (export "memory") 24)
  (global $free (mut i32) (i32.const 0x80000))
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "describe") (result i32) (i32.const 0x100))
  (func (export "bind") (param $params i32) (param $length i32) (result i32)
    (local $to i32) (local $c i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (i32.mul (local.get $to) (i32.const 2)) (local.get $length)))
        (i32.store8 (local.get $to)
          (i32.or
            (i32.shl (call $digit (i32.add (local.get $params) (i32.mul (local.get $to) (i32.const 2)))) (i32.const 4))
            (call $digit (i32.add (local.get $params) (i32.add (i32.const 1) (i32.mul (local.get $to) (i32.const 2)))))))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next)))
    (i32.const 0))
  (func $digit (param $at i32) (result i32)
    (local $c i32)
    (local.set $c (i32.load8_u (local.get $at)))
    (i32.add
      (i32.and (local.get $c) (i32.const 15))
      (i32.mul (i32.const 9) (i32.shr_u (local.get $c) (i32.const 6)))))
  ;; The input is the context (104 bytes), then the state and the facts as pointer and length.
  (func (export "evaluate") (param $input i32) (result i32)
    (memory.copy
      (i32.const 0)
      (i32.load offset=104 (local.get $input))
      (i32.load offset=108 (local.get $input)))
    (i32.const 0))
  (data (i32.const 0x100)
    "\40\01\00\00\06\00\00\00" "\46\01\00\00\05\00\00\00" "\4b\01\00\00\01\00\00\00" "\4b\01\00\00\00\00\00\00"
    "\40\01\00\00\00\00\00\00" "\40\01\00\00\00\00\00\00" "\4c\01\00\00\11\00\00\00")
  (data (i32.const 0x140) "mirror" "1.0.0" "M" "{\"type\":\"object\"}"))
