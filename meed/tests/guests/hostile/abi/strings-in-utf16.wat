;; refused: wrong-world
;; Says that its strings are UTF-16: a length is half as many bytes.
;; strings: utf16
;; in items
(func)
