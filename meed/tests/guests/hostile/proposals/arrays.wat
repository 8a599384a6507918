;; refused: does-not-compile, says gc
;; in items
(type $a (array (mut i64)))
(func (drop (array.new_default $a (i32.const 0x7fffffff))))
