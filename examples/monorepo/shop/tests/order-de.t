shop de /usr/share/shop/order.txt
