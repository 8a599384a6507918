;; refused: wrong-world

;; in items
(func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
