;; refused: wrong-world
;; Says that its strings are Latin-1 or UTF-16, by a bit in the length.
;; strings: latin1+utf16
;; in items
(func)
