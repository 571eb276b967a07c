printf 'tea\tgreen tea\t450\t20\nmug\tblue mug\t899\t0\n' >/tmp/catalog
pages /tmp/catalog | grep '<tr>'
