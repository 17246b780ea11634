SELECT customer, SUM(amount) AS total
FROM {{ params.table }}
WHERE day = '{{ ds }}'
GROUP BY customer;
