module regular-shopper

go 1.24
