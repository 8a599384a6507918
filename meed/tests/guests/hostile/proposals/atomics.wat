;; refused: does-not-compile, says threads
;; in items
(func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
