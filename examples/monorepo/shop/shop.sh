#!/bin/sh
# shop COUNTRY ORDER    prints the invoice of an order
set -eu
catalog=/usr/share/shop/catalog.tsv
stock "$catalog" <"$2" >/tmp/order
cart "$catalog" </tmp/order >/tmp/cart
"tax-$1" </tmp/cart | invoice
