FLASK_APP=dashboard.wsgi
