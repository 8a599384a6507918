;; refused: does-not-compile, says threads
;; Would sleep in the host, where neither fuel nor the deadline count.
;; in items
(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
