printf 'mug\tblue mug\t899\t3\n' >/tmp/catalog
printf '2 mug\n2 mug\n1 mug\n' | stock /tmp/catalog
