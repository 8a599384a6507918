;; fails: stack-overflow in evaluate
;; Would decide by the depth of the stack, but a stack overflow ends the call.
;; in items
(global $depth (mut i32) (i32.const 0))
(func $down (result i32)
  (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
  (i32.add (call $down) (global.get $depth)))
;; in evaluate
(drop (call $down))
